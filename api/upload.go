package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/arm"
)

// uploadLife is how long an upload URL may be used.
const uploadLife = time.Hour

// startPendingUpload gives a signed URL under which content can be uploaded:
// ask which files are missing, send those, commit the tree. Nothing of it can
// be seen before the commit.
func (s *server) startPendingUpload(k assetKind, w http.ResponseWriter, r *request) error {
	if err := sluice.CheckAsset(string(k.kind), r.vars["name"], r.vars["version"]); err != nil {
		return err
	}
	var ask arm.PendingUploadRequest
	if err := r.decode(&ask); err != nil {
		return err
	}
	if t := ask.PendingUploadType; t != "" && !strings.EqualFold(t, "TemporaryBlobReference") && !strings.EqualFold(t, "None") {
		return sluice.Errorf(sluice.CodeInvalid, "pendingUploadType is %.60q: it must be TemporaryBlobReference", t)
	}
	id := newUID()
	base := r.public + "/artifacts/" + url.PathEscape(r.scope.Workspace) + "/" + id
	expires := strconv.FormatInt(s.Now().Add(uploadLife).Unix(), 10)
	query := url.Values{"se": {expires}, "sp": {"w"}, "sig": {s.sign(r.scope.Workspace, id, expires)}}
	w.Header().Set("Cache-Control", "no-store")
	return answer(w, http.StatusOK, arm.PendingUpload{
		PendingUploadID: id, PendingUploadType: "TemporaryBlobReference",
		BlobReferenceForConsumption: arm.BlobReference{BlobURI: base,
			Credential: arm.BlobCredential{CredentialType: "SAS", SASURI: base + "?" + query.Encode()}},
	})
}

// sign binds the right to write to one upload, until a time.
func (s *server) sign(workspace, upload, expires string) string {
	mac := hmac.New(sha256.New, s.SignKey)
	mac.Write([]byte("upload\n" + strings.ToLower(workspace) + "\n" + upload + "\nw\n" + expires))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// checkSignature is the authentication of the upload routes. It comes before
// anything else is looked at.
func (s *server) checkSignature(r *request) error {
	expires := r.param("se")
	given, err := base64.RawURLEncoding.DecodeString(r.param("sig"))
	want, _ := base64.RawURLEncoding.DecodeString(s.sign(r.vars["ws"], r.vars["upload"], expires))
	if err != nil || r.param("sp") != "w" || !hmac.Equal(given, want) {
		return sluice.Errorf(sluice.CodeUnauthorized, "the signature of this upload URL is not valid")
	}
	until, err := strconv.ParseInt(expires, 10, 64)
	if err != nil || s.Now().Unix() > until {
		return sluice.Errorf(sluice.CodeUnauthorized, "this upload URL has expired").WithHint("start the upload again")
	}
	return nil
}

func readTree(r *request) (sluice.Tree, error) {
	var tree sluice.Tree
	if err := arm.Decode(r.Body, maxTree, &tree); err != nil {
		return tree, err
	}
	return tree, tree.Check()
}

func (s *server) uploadMissing(w http.ResponseWriter, r *request) error {
	tree, err := readTree(r)
	if err != nil {
		return err
	}
	digests := make([]string, 0, len(tree.Files))
	known := make(map[string]bool, len(tree.Files))
	for _, f := range tree.Files {
		if !known[f.Digest] {
			known[f.Digest] = true
			digests = append(digests, f.Digest)
		}
	}
	missing, err := s.Artifacts.Missing(r.Context(), digests)
	if err != nil {
		return err
	}
	if missing == nil {
		missing = []string{}
	}
	return answer(w, http.StatusOK, arm.MissingBlobs{Missing: missing})
}

func (s *server) uploadBlob(w http.ResponseWriter, r *request) error {
	digest := r.vars["digest"]
	if err := sluice.CheckDigest(digest); err != nil {
		return err
	}
	if r.ContentLength < 0 {
		return sluice.Errorf(sluice.CodeInvalid, "the length of the file must be stated (Content-Length)")
	}
	if err := s.Artifacts.PutBlob(r.Context(), digest, r.ContentLength, r.Body); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (s *server) uploadCommit(w http.ResponseWriter, r *request) error {
	tree, err := readTree(r)
	if err != nil {
		return err
	}
	base := r.param("base")
	if err := arm.CheckBase(base); err != nil {
		return err
	}
	digest, err := s.Artifacts.PutTree(r.Context(), tree)
	if err != nil {
		return err
	}
	return answer(w, http.StatusCreated, arm.Committed{
		URI: arm.TreeURI(r.public, r.scope.Workspace, sluice.Content{Tree: digest, Base: base})})
}

// content gives the uploaded tree that a URI in a request refers to.
func (s *server) content(r *request, field, uri string) (sluice.Content, error) {
	if uri == "" {
		return sluice.Content{}, &sluice.Error{Code: sluice.CodeInvalid, Target: field, Message: field + " is missing"}
	}
	host, workspace, content, err := arm.ParseTreeURI(uri)
	public, _ := url.Parse(r.public) // made by publicURL
	if err != nil || !strings.EqualFold(host, s.public.Host) && !strings.EqualFold(host, public.Host) {
		return sluice.Content{}, notBuilt(field, field+" "+shorten(uri)+": content that is not uploaded to this server").
			WithHint("upload it: startPendingUpload gives the place")
	}
	if !strings.EqualFold(workspace, r.scope.Workspace) {
		return sluice.Content{}, sluice.Errorf(sluice.CodeInvalid, "%s refers to an upload of another workspace", field)
	}
	ok, err := s.Artifacts.HasTree(r.Context(), content.Tree)
	if err != nil {
		return sluice.Content{}, err
	}
	if !ok {
		return sluice.Content{}, sluice.Errorf(sluice.CodeInvalid, "%s refers to an upload that is not here", field).
			WithHint("upload it again")
	}
	return content, nil
}

// shorten gives the start of a URI without its query, where secrets are.
func shorten(uri string) string {
	uri, _, _ = strings.Cut(uri, "?")
	if len(uri) > 120 {
		return uri[:120] + "…"
	}
	return uri
}
