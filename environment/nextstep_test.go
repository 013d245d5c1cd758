package environment

import (
	"testing"

	"github.com/sluice-ml/sluice"
)

// What an index was not waited for to say is not guessed.
func TestDiagnosed(t *testing.T) {
	f := finding{code: sluice.CauseUnresolvable, requirement: "iota==2.0", why: "nothing was found for iota==2.0"}
	for _, tt := range []struct {
		name     string
		versions []string
		refused  string
		complete bool
		code     sluice.CauseCode
		why      string
		ok       bool
	}{
		{"not waited for", nil, "", false, sluice.CauseUnresolvable, "nothing was found for iota==2.0", true},
		{"refused", nil, "401 Unauthorized", true, sluice.CauseIndex, "401 unauthorized", true},
		{"no package", nil, "", true, sluice.CauseUnresolvable, "the package index has no package iota", true},
		{"other versions", []string{"1.0", "3.0"}, "", true, sluice.CauseUnresolvable, "the package index has no version iota==2.0 (the last it has are 1.0, 3.0)", true},
		{"the version", []string{"1.0", "2.0"}, "", true, sluice.CauseUnresolvable, "nothing was found for iota==2.0", false},
	} {
		got, ok := f.diagnosed(tt.versions, tt.refused, tt.complete)
		if got.code != tt.code || got.why != tt.why || ok != tt.ok {
			t.Errorf("%s: got %+v, %v", tt.name, got, ok)
		}
	}
}

func TestLoosenHint(t *testing.T) {
	for why, want := range map[string]string{
		"you ask for delta==1.5, but you ask for delta==2.0":                                                              "loosen delta==1.5 or delta==2.0",
		"you ask for delta==2.0, but gamma 1.0 depends on delta<2":                                                        "loosen delta==2.0",
		"scikit-learn==1.5.2 depends on joblib>=1.2.0 and you require scikit-learn==1.5.2, but you require joblib==1.0.0": "loosen scikit-learn==1.5.2 or joblib==1.0.0",
		"you ask for delta[fast]>=2, but you ask for delta[fast]>=2, but gamma 1.0 depends on delta<2":                    "loosen delta[fast]>=2",
		"you ask for gamma, but gamma 1.0 depends on delta<2, but epsilon 3 depends on delta>2":                           "loosen one of the versions named",
		"the requirements contradict each other":                                                                          "loosen one of the versions named",
	} {
		if got := loosenHint(why); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", why, got, want)
		}
	}
}

func TestIndexHint(t *testing.T) {
	for _, tt := range []struct {
		options []string
		want    string
	}{
		{nil, "check index-url, proxy and certificates in pip.conf, or PIP_INDEX_URL, HTTPS_PROXY and SSL_CERT_FILE in the server's environment"},
		{[]string{"--find-links x", "--index-url y"}, "check --index-url in the conda file, and HTTPS_PROXY and SSL_CERT_FILE in the server's environment"},
		{[]string{"--extra-index-url y"}, "check --extra-index-url in the conda file, and HTTPS_PROXY and SSL_CERT_FILE in the server's environment"},
	} {
		if got := indexHint(tt.options); got != tt.want {
			t.Errorf("%q: got %s", tt.options, got)
		}
	}
}
