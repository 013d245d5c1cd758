package environment

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// numpy2 gives, for packages with compiled code that uses numpy, the first
// version built for numpy 2. Older ones do not forbid it and fail on import.
var numpy2 = map[string]string{
	"scikit-learn": "1.4.2", "scipy": "1.13.0", "pandas": "2.2.2", "matplotlib": "3.8.4", "contourpy": "1.2.1",
	"scikit-image": "0.23.1", "statsmodels": "0.14.2", "h5py": "3.11.0", "tables": "3.9.3", "pyarrow": "16.0.0",
	"numexpr": "2.10.0", "bottleneck": "1.4.0", "pywavelets": "1.6.0", "shapely": "2.0.4", "opencv-python": "4.10.0.84",
	"opencv-python-headless": "4.10.0.84", "opencv-contrib-python": "4.10.0.84", "opencv-contrib-python-headless": "4.10.0.84",
	"torch": "2.3.0", "torchvision": "0.18.0", "torchaudio": "2.3.0", "tensorflow": "2.18.0", "jaxlib": "0.4.26", "onnx": "1.16.1",
	"onnxruntime": "1.19.0", "shap": "0.46.0", "lightfm": "9999", "implicit": "0.7.3", "hdbscan": "0.8.37", "pmdarima": "2.1.0",
	"gensim": "4.4.0", "spacy": "3.8.0", "thinc": "8.3.0", "blis": "1.0.0", "fasttext": "9999", "faiss-cpu": "1.8.0.post1",
	"astropy": "6.1.0", "numba": "0.60.0", "cvxpy": "1.5.0", "ecos": "2.0.14", "osqp": "0.6.7", "scs": "3.2.5", "netcdf4": "1.7.0",
	"pyproj": "3.6.1", "rasterio": "1.3.11", "fiona": "1.9.6", "catboost": "1.2.8", "bitsandbytes": "0.43.2", "rdkit": "2024.3.2",
	"pot": "0.9.4", "xgboost": "1.7.0", "zarr": "2.18.0", "numcodecs": "0.13.0", "mlxtend": "0.23.2", "pyod": "2.0.0",
}

// needsNumpy1 reports whether a resolution came to numpy 2 beside a package
// that was built before it, and names that package. Who pins numpy is left
// alone.
func needsNumpy1(requirements []string, packages []lockedPackage) (because string, needed bool) {
	for _, r := range requirements {
		m := requirementForm.FindStringSubmatch(r)
		if m != nil && normalName(m[1]) == "numpy" && strings.TrimSpace(m[3]) != "" && !strings.HasPrefix(m[3], ";") {
			return "", false
		}
	}
	two := false
	for _, p := range packages {
		if p.name == "numpy" && !olderThan(p.version, "2.0.0") {
			two = true
		}
		if first := numpy2[p.name]; first != "" && p.version != "" && olderThan(p.version, first) && because == "" {
			because = p.name + " " + p.version
		}
	}
	return because, two && because != ""
}

var leadingNumbers = regexp.MustCompile(`^\d+(?:\.\d+)*`)

// olderThan compares two versions by their leading numbers.
func olderThan(version, first string) bool {
	a, b := strings.Split(leadingNumbers.FindString(version), "."), strings.Split(leadingNumbers.FindString(first), ".")
	for i := range max(len(a), len(b)) {
		x, y := number(a, i), number(b, i)
		if x != y {
			return x < y
		}
	}
	return false
}

func number(parts []string, i int) int {
	if i >= len(parts) {
		return 0
	}
	n, _ := strconv.Atoi(parts[i])
	return n
}

func numpyNotice(because string) string {
	return fmt.Sprintf("numpy<2 is installed, because %s was built before numpy 2; pin numpy to decide otherwise", because)
}
