package gateway

import (
	"net/textproto"
	"strconv"
	"strings"
	"time"
)

// header is a message's header fields by canonical name.
type header = map[string][]string

// hopFields belong to one connection and are not passed on.
var hopFields = [...]string{"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate",
	"Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

func dropHop(h header) {
	for _, value := range h["Connection"] {
		for name := range strings.SplitSeq(value, ",") {
			delete(h, textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name)))
		}
	}
	for _, name := range hopFields {
		delete(h, name)
	}
}

// upgradeOf gives the protocol a message wants to change to, "" for none.
func upgradeOf(h header) string {
	for _, value := range h["Connection"] {
		for name := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(name), "upgrade") && len(h["Upgrade"]) == 1 {
				return h["Upgrade"][0]
			}
		}
	}
	return ""
}

// forwardFields makes the fields of a request those that the instance gets.
func forwardFields(h header, c *call, mayUpgrade bool) {
	upgrade := ""
	if mayUpgrade {
		upgrade = upgradeOf(h)
	}
	trailers := len(h["Te"]) == 1 && strings.EqualFold(h["Te"][0], "trailers")
	dropHop(h)
	delete(h, fieldAuthorization)
	delete(h, fieldDeployment)
	delete(h, "Expect") // answered here
	h[fieldRequestID] = []string{c.id}
	delete(h, fieldMSRequestID) // the old name: scoring servers warn of it
	delete(h, fieldClientID)
	if c.clientID != "" {
		h[fieldClientID] = []string{c.clientID}
	}
	if upgrade != "" {
		h["Connection"], h["Upgrade"] = []string{"Upgrade"}, []string{upgrade}
	}
	if trailers {
		h["Te"] = []string{"trailers"}
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = []string{""} // or the library would name itself
	}
}

// answerFields writes the fields of an instance's answer into h, and gives the
// status that the caller gets.
func answerFields(h, from header, c *call, t *target, status int, took time.Duration) int {
	dropHop(from)
	for name, values := range from {
		switch name {
		case fieldRequestID, fieldMSRequestID, fieldClientID, fieldDeployment, fieldModelTime,
			fieldModelStatus, fieldModelReason, fieldHint, fieldNotStarted:
			// These are ours to say.
		default:
			h[name] = values
		}
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // or the library would guess one
	}
	h[fieldModelTime] = []string{strconv.FormatInt(took.Milliseconds(), 10)}
	if status >= 200 && status < 300 {
		return status
	}
	c.reason = "model_error"
	h[fieldModelStatus] = []string{strconv.Itoa(status)}
	h[fieldModelReason] = []string{c.reason}
	h[fieldHint] = []string{logsHint(&t.plan.routes, t.Name)}
	if status == 304 {
		delete(h, "Content-Length") // of a body that is not sent
	}
	return statusFailedDependency
}
