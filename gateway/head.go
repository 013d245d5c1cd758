package gateway

// Head is what the stages may know of a request: all that comes before its
// body. It is our own, so that the HTTP layer can be replaced under it.
type Head struct {
	Method string
	Host   string // as sent, port included
	Path   string // as sent: percent-encoded, without the query
	Length int64  // of the body in bytes, -1 when not known
	Fields Fields
}

// Fields are the header fields of a request.
type Fields interface {
	// Values gives the values of the field of this canonical name
	// ("X-Request-Id") in the order they were sent.
	Values(name string) []string
}

// Names of the header fields that mean something to us, in canonical form.
const (
	fieldAuthorization = "Authorization"
	fieldDeployment    = "Azureml-Model-Deployment"
	fieldRequestID     = "X-Request-Id"
	fieldMSRequestID   = "X-Ms-Request-Id"
	fieldClientID      = "X-Ms-Client-Request-Id"
	fieldModelTime     = "Ms-Azureml-Model-Time"
	fieldModelStatus   = "Ms-Azureml-Model-Error-Statuscode"
	fieldModelReason   = "Ms-Azureml-Model-Error-Reason"
	fieldHint          = "X-Sluice-Hint"
	fieldNotStarted    = "X-Sluice-Not-Started"
)

// clientID gives the caller's trace id with only the characters that cannot
// harm a log: letters, digits, '-' and '_', at most 128 of them.
func clientID(f Fields) string {
	values := f.Values(fieldClientID)
	if len(values) == 0 {
		return ""
	}
	id := values[0]
	if len(id) > 128 {
		id = id[:128]
	}
	for i := range len(id) {
		if !isTraceByte(id[i]) {
			return dropOthers(id)
		}
	}
	return id
}

func isTraceByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

func dropOthers(id string) string {
	kept := make([]byte, 0, len(id))
	for i := range len(id) {
		if isTraceByte(id[i]) {
			kept = append(kept, id[i])
		}
	}
	return string(kept)
}
