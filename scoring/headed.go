package scoring

import (
	"context"
	"slices"
	"strconv"
	"strings"
)

// discard gives back what a result holds, when nobody is left to hear it.
func (r *result) discard() {
	if r.file != nil {
		_ = r.file.Close() // it was only read from
	}
	if r.stream != nil {
		r.stream.leave()
	}
}

// drop removes every field of a name.
func (r *Reply) drop(name string) {
	r.Fields = slices.DeleteFunc(r.Fields, func(f Field) bool { return strings.EqualFold(f.Name, name) })
}

// has reports whether there is a field of a name, and not an empty one.
func (r *Reply) has(name string) bool {
	return slices.ContainsFunc(r.Fields, func(f Field) bool { return f.Value != "" && strings.EqualFold(f.Name, name) })
}

// headed is the reply whose status and headers are the script's own. A body
// that comes in pieces is waited for until there is one: until then a failure
// can still be told.
func headed(ctx context.Context, r result) Reply {
	reply, ok := readHead(r.head)
	if !ok {
		r.discard()
		return message(500, textInternal)
	}
	reply.Body, reply.File, reply.Length = r.body, r.file, r.length
	if reply.Status >= 500 {
		reply.drop(fieldFailed)
		reply.Fields = append(reply.Fields, Field{fieldFailed, "True"})
	}
	reply.Fields = append(reply.Fields, Field{"x-ms-run-fn-exec-ms", milliseconds(r.ran)})
	if r.stream == nil {
		return reply
	}
	select {
	case first, more := <-r.stream.chunks:
		if !more && r.stream.err != nil {
			reply = message(500, textInternal)
		} else {
			reply.Stream, reply.First = r.stream, first
		}
	case <-ctx.Done():
		reply = Reply{Silent: true}
	}
	if reply.Stream == nil {
		r.stream.leave()
	}
	return reply
}

// readHead reads "status\0name\0value…".
func readHead(head []byte) (Reply, bool) {
	parts := strings.Split(string(head), "\x00")
	status, err := strconv.Atoi(parts[0])
	if err != nil || status < 200 || status > 999 || len(parts)%2 == 0 {
		return Reply{}, false
	}
	reply := Reply{Status: status}
	for i := 1; i < len(parts); i += 2 {
		reply.Fields = append(reply.Fields, Field{parts[i], parts[i+1]})
	}
	return reply, true
}
