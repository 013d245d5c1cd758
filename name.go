package sluice

import (
	"regexp"
)

var (
	endpointName = regexp.MustCompile(`^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$`)
	assetName    = regexp.MustCompile(`^[a-zA-Z0-9][-_.a-zA-Z0-9]{0,254}$`)
	assetVersion = regexp.MustCompile(`^[a-zA-Z0-9][-_.a-zA-Z0-9]{0,63}$`)
)

// CheckName checks the name of an endpoint or deployment ("endpoint" or
// "deployment" is what): 3 to 32 letters, digits and hyphens, starting with a
// letter and not ending with a hyphen.
func CheckName(what, name string) error {
	if name == "" {
		return Errorf(CodeInvalid, "the %s has no name", what)
	}
	if len(name) < 3 || len(name) > 32 || !endpointName.MatchString(name) {
		return Errorf(CodeInvalid, "%q is not a valid %s name: 3 to 32 letters, digits and hyphens, starting with a letter and not ending with a hyphen", name, what)
	}
	return nil
}

// CheckAsset checks the name and, when not empty, the version of an asset.
func CheckAsset(what, name, version string) error {
	if !assetName.MatchString(name) {
		return Errorf(CodeInvalid, "%q is not a valid %s name: up to 255 letters, digits, '-', '_' and '.', starting with a letter or digit", name, what)
	}
	if version != "" && !assetVersion.MatchString(version) {
		return Errorf(CodeInvalid, "%q is not a valid %s version: up to 64 letters, digits, '-', '_' and '.'", version, what)
	}
	return nil
}
