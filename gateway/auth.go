package gateway

import (
	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/identity/verify"
)

// authenticate says why the caller may not use the endpoint, or nil.
func authenticate(f Fields, r *sluice.Routes) *refusal {
	if r.AuthMode != sluice.AuthKey {
		return &refusal{status: statusUnauthorized, code: "Unauthorized", reason: "credential",
			message: "endpoint " + r.Endpoint + " has auth_mode " + string(r.AuthMode) + ", which this gateway does not know"}
	}
	values := f.Values(fieldAuthorization)
	if len(values) == 0 {
		return refuseCredential(r, "the request has no credential")
	}
	if len(values) > 1 {
		return refuseCredential(r, "the request has more than one Authorization header")
	}
	token, ok := verify.Bearer(values[0])
	if !ok {
		return refuseCredential(r, "the Authorization header is not of the form Bearer KEY")
	}
	if !verify.Key(token, r.Keys.Primary, r.Keys.Secondary) {
		return refuseCredential(r, "the key is not one of this endpoint's")
	}
	return nil
}
