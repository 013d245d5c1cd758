package api_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// raw sends bytes of the test's own making over HTTP/1.1 and gives all that
// comes back until the server ends the connection.
func (w *world) raw(request string) (string, error) {
	w.t.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(w.server.URL, "https://"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprint(conn, request)
	text, err := io.ReadAll(conn)
	return string(text), err
}

// A stranger who announces a body and never sends it keeps no connection.
func TestStrangersBodyNeverComes(t *testing.T) {
	w := newWorld(t)
	for line, status := range map[string]string{
		"POST " + ws + "/onlineEndpoints/iris/listKeys" + version: "401", "POST /nothing": "401", "GET /healthz": "200",
		"PUT /artifacts/default/x/blobs/sha256:" + strings.Repeat("0", 64): "401",
	} {
		text, err := w.raw(line + " HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
		if err != nil || !strings.HasPrefix(text, "HTTP/1.1 "+status) {
			t.Errorf("%s: got %.60q, %v, want %s and the end of the connection", line, text, err, status)
		}
	}
}

// timed is an answer that notes until when the body may be read.
type timed struct {
	*httptest.ResponseRecorder
	deadlines []time.Time
}

func (r *timed) SetReadDeadline(t time.Time) error {
	r.deadlines = append(r.deadlines, t)
	return nil
}

// The body of somebody with a credential may take its time.
func TestTrustedBodyIsNotHurried(t *testing.T) {
	w := newWorld(t)
	for credential, hurried := range map[string]bool{"Bearer " + token: false, "Bearer wrong": true} {
		req := httptest.NewRequest("PUT", "https://localhost"+ws+"/onlineEndpoints/iris"+version,
			strings.NewReader(`{"location":"x","properties":{"authMode":"Key"}}`))
		req.Header.Set("Authorization", credential)
		rec := &timed{ResponseRecorder: httptest.NewRecorder()}
		w.server.Config.Handler.ServeHTTP(rec, req)
		if n := len(rec.deadlines); n == 0 || rec.deadlines[n-1].IsZero() == hurried {
			t.Errorf("with %q: status %d, read deadlines %v, hurried: %v", credential, rec.Code, rec.deadlines, hurried)
		}
	}
}

// Strangers cannot fill the disk by way of the log.
func TestStrangersFillNoLog(t *testing.T) {
	w := newWorld(t)
	path := "/" + strings.Repeat("a", 30_000)
	const requests = 300
	for range requests {
		if got := w.do("GET", path, "", "Authorization", ""); got.status != 401 {
			t.Fatalf("status %d, want 401", got.status)
		}
	}
	if log := w.log.String(); len(log) > requests*500 || strings.Count(log, "request refused") == 0 {
		t.Errorf("%d requests left %d bytes and %d lines in the log", requests, len(log), strings.Count(log, "request refused"))
	}
}
