package environment

import (
	"regexp"
	"strings"

	"github.com/sluice-ml/sluice"
)

// pipNames are the packages that conda and the index name differently.
var pipNames = map[string]string{
	"pytorch": "torch", "pytorch-cpu": "torch", "pytorch-gpu": "torch",
	"py-xgboost": "xgboost", "py-xgboost-cpu": "xgboost", "py-xgboost-gpu": "xgboost",
	"opencv": "opencv-python-headless", "py-opencv": "opencv-python-headless",
	"msgpack-python": "msgpack", "pytables": "tables", "python-graphviz": "graphviz",
	"ruamel-yaml": "ruamel.yaml", "tensorflow-gpu": "tensorflow", "tensorflow-base": "tensorflow", "tensorflow-mkl": "tensorflow",
	"matplotlib-base": "matplotlib", "dask-core": "dask", "seaborn-base": "seaborn", "numpy-base": "numpy",
	"pyarrow-core": "pyarrow", "python-xxhash": "xxhash", "prompt-toolkit": "prompt_toolkit",
	"importlib-metadata": "importlib-metadata", "typing-extensions": "typing-extensions",
	"faiss-cpu": "faiss-cpu", "faiss": "faiss-cpu", "pytorch-lightning": "pytorch-lightning",
	"antlr-python-runtime": "antlr4-python3-runtime", "sqlalchemy": "SQLAlchemy", "pyqt": "PyQt5",
	"keras-base": "keras", "python-lmdb": "lmdb", "py-lief": "lief", "spacy-model-en-core-web-sm": "en-core-web-sm",
}

// selectors choose between builds of conda's own packages and stand for no
// files that a wheel would need.
var selectors = map[string]bool{
	"nomkl": true, "blas": true, "_libgcc_mutex": true, "_openmp_mutex": true, "_py-xgboost-mutex": true,
	"pytorch-mutex": true, "_tflow_select": true, "python_abi": true, "cpuonly": true, "pytorch-cuda": true,
}

// foreign are the packages of conda that are not Python packages, with what
// to do about each.
var foreign = map[string]string{
	"cudatoolkit": "it is a CUDA library; wheels for GPUs bring their own", "cuda-toolkit": "it is a CUDA library; wheels for GPUs bring their own",
	"cudnn": "it is a CUDA library; wheels for GPUs bring their own", "nccl": "it is a CUDA library; wheels for GPUs bring their own",
	"cuda": "it is a CUDA library; wheels for GPUs bring their own",
	"mkl":  "it is a library; the wheels of numpy and scipy bring their own", "mkl-service": "it is bound to conda's MKL",
	"mkl-fft": "it is bound to conda's MKL", "mkl-random": "it is bound to conda's MKL",
	"openblas": "it is a library; the wheels of numpy and scipy bring their own", "libopenblas": "it is a library; the wheels of numpy and scipy bring their own",
	"libblas": "it is a library; the wheels of numpy and scipy bring their own", "liblapack": "it is a library; the wheels of numpy and scipy bring their own",
	"intel-openmp": "it is a library; wheels bring their own", "llvm-openmp": "it is a library; wheels bring their own",
	"libgomp": "it is a library; wheels bring their own", "libxgboost": "it is a library; the wheel of xgboost brings its own",
	"arrow-cpp": "it is a library; the wheel of pyarrow brings its own",
	"gcc":       "it is a compiler; only wheels are installed", "gxx": "it is a compiler; only wheels are installed",
	"compilers": "it is a compiler; only wheels are installed", "c-compiler": "it is a compiler; only wheels are installed",
	"cxx-compiler": "it is a compiler; only wheels are installed", "make": "it is a build tool; only wheels are installed",
	"cmake": "it is a build tool; name it below pip: if the script runs it", "git": "it is a program; install it on the machine",
	"ffmpeg": "it is a program; install it on the machine, or name imageio-ffmpeg below pip:", "openjdk": "it is a Java runtime; install it on the machine",
	"graphviz": "it is a program; install it on the machine, and name python-graphviz for its Python side", "nodejs": "it is a program; install it on the machine",
	"curl": "it is a program; install it on the machine", "wget": "it is a program; install it on the machine",
	"openssl": "it is a library; the interpreter brings its own", "zlib": "it is a library; the interpreter brings its own",
	"sqlite": "it is a library; the interpreter brings its own", "readline": "it is a library; the interpreter brings its own",
	"ncurses": "it is a library; the interpreter brings its own", "tk": "it is a library; the interpreter brings its own",
	"xz": "it is a library; the interpreter brings its own", "bzip2": "it is a library; the interpreter brings its own",
	"libffi": "it is a library; the interpreter brings its own", "ca-certificates": "certificates are the machine's own",
	"libjpeg-turbo": "it is a library; wheels bring their own", "libpng": "it is a library; wheels bring their own",
	"geos": "it is a library; wheels bring their own", "gdal": "it has no wheels; name rasterio or pyogrio below pip: if one of them will do",
	"r-base": "it is R, which Sluice does not run", "conda": "it is conda itself, which is not used here", "mamba": "it is conda's own tool, which is not used here",
}

// foreignReason tells why a package of conda can be no Python package, "" when
// it may be one.
func foreignReason(name string) string {
	if reason := foreign[name]; reason != "" {
		return reason
	}
	switch {
	case strings.HasPrefix(name, "r-"):
		return "it is a package of R, which Sluice does not run"
	case strings.HasPrefix(name, "libgcc") || strings.HasPrefix(name, "libstdcxx") || strings.HasPrefix(name, "libgfortran") || name == "libcxx":
		return "it is a runtime of the compiler; wheels bring their own"
	case strings.HasPrefix(name, "gcc-") || strings.HasPrefix(name, "gxx-") || strings.HasPrefix(name, "clang"):
		return "it is a compiler; only wheels are installed"
	case strings.HasPrefix(name, "cuda-") || strings.HasPrefix(name, "libcu") || strings.HasPrefix(name, "libnv"):
		return "it is a CUDA library; wheels for GPUs bring their own"
	case strings.HasPrefix(name, "ld-impl-") || strings.HasPrefix(name, "sysroot-") || strings.HasPrefix(name, "binutils"):
		return "it is part of a compiler; only wheels are installed"
	}
	return ""
}

var (
	condaForm     = regexp.MustCompile(`^(?:[^\s\[\]=<>!~]*::)?([A-Za-z0-9_][A-Za-z0-9._-]*)\s*(.*)$`)
	condaBracket  = regexp.MustCompile(`^\[(.*)\]$`)
	bracketField  = regexp.MustCompile(`(\w+)\s*=\s*('[^']*'|"[^"]*"|[^,'"\]]+)`)
	condaNumber   = regexp.MustCompile(`^[0-9]+(?:\.[0-9]+)*$`)
	condaVersion  = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._+!-]*$`)
	condaOperator = regexp.MustCompile(`^(==|=|!=|<=|>=|<|>|~=)?\s*(.*)$`)
)

// condaPackage takes one dependency of conda's own kind into the plan.
func (p *planner) condaPackage(text string, line int) {
	m := condaForm.FindStringSubmatch(strings.TrimSpace(inlineComment.ReplaceAllString(text, "")))
	if m == nil {
		p.refuse(sluice.CodeInvalid, line, shorten(text), "it is not a package with a version")
		return
	}
	written := strings.ToLower(m[1])
	name := normalName(m[1])
	switch reason := foreignReason(name); {
	case selectors[written]:
		p.notice("%s is left out: it only chooses between conda's own builds", written)
		return
	case reason != "":
		p.refuse(sluice.CodeNotBuilt, line, written, "%s", reason)
		return
	}
	version := condaConstraint(m[2])
	if name == "python" {
		p.condaPython(version, line)
		return
	}
	if buildTools[name] || name == "setuptools" {
		return
	}
	specifier, reason := pipSpecifier(version)
	if reason != "" {
		p.refuse(sluice.CodeInvalid, line, shorten(text), "%s", reason)
		return
	}
	if other := pipNames[name]; other != "" {
		name = other
	}
	p.requirement(name+specifier, "dependencies", line)
}

func (p *planner) condaPython(version string, line int) {
	pin, err := parsePin(version)
	if err != nil {
		p.refuse(sluice.CodeInvalid, line, "python "+shorten(version), "it is not a version that can be pinned")
		return
	}
	p.plan.Python = pin
}

// condaConstraint gives the version part of a dependency, without the build
// string, in one spelling: clauses with operators, "=" being by prefix.
func condaConstraint(rest string) string {
	rest = strings.TrimSpace(rest)
	if m := condaBracket.FindStringSubmatch(rest); m != nil {
		for _, f := range bracketField.FindAllStringSubmatch(m[1], -1) {
			if f[1] == "version" {
				return condaConstraint(strings.Trim(f[2], `'"`))
			}
		}
		return ""
	}
	if rest == "" || rest == "*" {
		return ""
	}
	if strings.ContainsAny(rest[:1], "=<>!~") {
		// name=1.2=build: what follows the second "=" is the build.
		if op := condaOperator.FindStringSubmatch(rest); op[1] == "=" || op[1] == "==" {
			version, _, built := strings.Cut(op[2], "=")
			if built && !strings.ContainsAny(version, ",|") {
				return "==" + version
			}
		}
		if fields := strings.Fields(rest); len(fields) == 2 && !strings.HasSuffix(fields[0], ",") && condaOperator.FindStringSubmatch(fields[0])[2] != "" &&
			!strings.ContainsAny(fields[1][:1], "=<>!~,|") {
			return fields[0] // name >=1.2 build
		}
		return strings.ReplaceAll(rest, " ", "")
	}
	// name 1.2, or name 1.2 build: exactly that version.
	version := rest
	if fields := strings.Fields(rest); len(fields) == 2 && !strings.HasSuffix(fields[0], ",") && !strings.HasPrefix(fields[1], ",") {
		version = fields[0]
	}
	version = strings.ReplaceAll(version, " ", "")
	if strings.HasSuffix(version, "*") || strings.ContainsAny(version, "|,") {
		return version
	}
	return "==" + version
}

// pipSpecifier turns conda's constraint into pip's, or tells why it cannot.
func pipSpecifier(constraint string) (specifier, reason string) {
	if constraint == "" || constraint == "*" {
		return "", ""
	}
	if strings.Contains(constraint, "|") {
		return "", "alternatives with | have no counterpart; choose one"
	}
	var clauses []string
	for part := range strings.SplitSeq(constraint, ",") {
		m := condaOperator.FindStringSubmatch(strings.TrimSpace(part))
		op, version := m[1], strings.TrimSpace(m[2])
		prefix := strings.HasSuffix(version, "*")
		version = strings.TrimRight(strings.TrimSuffix(version, "*"), ".")
		if version == "" && prefix && op != "!=" {
			continue
		}
		if !condaVersion.MatchString(version) {
			return "", "the version cannot be read"
		}
		// ==1.2.* also takes 1.2 itself, and is what conda's =1.2 means. Only
		// plain numbers can be followed by .*.
		byPrefix := (prefix || op == "=") && condaNumber.MatchString(version)
		switch op {
		case "", "=", "==":
			op = "=="
		case "!=":
		default:
			byPrefix = false
		}
		if byPrefix {
			version += ".*"
		}
		clauses = append(clauses, op+version)
	}
	return strings.Join(clauses, ","), ""
}
