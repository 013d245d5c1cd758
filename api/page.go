package api

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
)

// How many items one page has, unless the client asks for fewer.
const (
	pageSize    = 100
	maxPageSize = 1000
)

// page reads one page of a collection: the resources that q selects and keep
// keeps. The client's count, order and place in the list are taken from the
// request.
func page[T sluice.Resource, W any](s *server, r *request, q sluice.Query, keep func(T) bool, wire func(T) (W, error)) (arm.List[W], error) {
	out := arm.List[W]{Value: []W{}}
	size, err := r.pageSize()
	if err != nil {
		return out, err
	}
	if q.Newest, err = newestFirst(r.param("$orderBy") + r.param("orderBy")); err != nil {
		return out, err
	}
	q.After = r.param("$skip") + r.param("$skipToken")
	for len(out.Value) < size {
		q.Limit = size - len(out.Value)
		p, err := s.Store.List(r.Context(), q)
		if err != nil {
			return out, err
		}
		for _, item := range p.Items {
			res, ok := item.(T)
			if !ok || !keep(res) {
				continue
			}
			w, err := wire(res)
			if err != nil {
				return out, err
			}
			out.Value = append(out.Value, w)
		}
		q.After = p.Next
		if p.Next == "" {
			return out, nil
		}
	}
	out.NextLink = r.nextLink(q.After)
	return out, nil
}

func (r *request) pageSize() (int, error) {
	for _, name := range []string{"count", "$top"} {
		text := r.param(name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return 0, sluice.Errorf(sluice.CodeInvalid, "%s is %.40q: it must be a whole number over 0", name, text)
		}
		return min(n, maxPageSize), nil
	}
	return pageSize, nil
}

// newestFirst reads an order. There are two: by name, and newest first.
func newestFirst(order string) (bool, error) {
	switch strings.ToLower(strings.NewReplacer(" ", "", "_", "", "+", "").Replace(order)) {
	case "":
		return false, nil
	case "createdatdesc", "createdtimedesc":
		return true, nil
	}
	return false, sluice.Errorf(sluice.CodeInvalid, "order %.60q is not built yet: leave it out for order by name, or use CreatedAtDesc", order)
}

// nextLink gives the address of the page that starts after a token.
func (r *request) nextLink(token string) string {
	q := url.Values{}
	for k, v := range r.query {
		if !strings.EqualFold(k, "$skip") && !strings.EqualFold(k, "$skipToken") {
			q[k] = v
		}
	}
	q.Set("$skip", token)
	return r.public + r.URL.EscapedPath() + "?" + q.Encode()
}

// matchesAll reports whether every "key=value" pair of the comma-separated
// filter stands in have. A key alone must be there with any value.
func matchesAll(filter string, have map[string]string) bool {
	if filter == "" {
		return true
	}
	for pair := range strings.SplitSeq(filter, ",") {
		key, value, hasValue := strings.Cut(pair, "=")
		got, ok := have[key]
		if !ok || hasValue && got != value {
			return false
		}
	}
	return true
}
