package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math"
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

// uploadMissing says what of a tree has to be sent: whole files, and of large
// ones the parts that are not here yet.
func (s *server) uploadMissing(w http.ResponseWriter, r *request) error {
	tree, err := readTree(r)
	if err != nil {
		return err
	}
	digests := make([]string, 0, len(tree.Files))
	sizes := make(map[string]int64, len(tree.Files))
	for _, f := range tree.Files {
		if _, known := sizes[f.Digest]; !known {
			sizes[f.Digest] = f.Size
			digests = append(digests, f.Digest)
		}
	}
	missing, err := s.Artifacts.Missing(r.Context(), digests)
	if err != nil {
		return err
	}
	out := arm.MissingBlobs{Missing: append([]string{}, missing...), PartSize: s.Artifacts.PartSize()}
	toSend := int64(0)
	for _, digest := range missing {
		here, err := s.partsHere(r, &out, digest, sizes[digest])
		if err != nil {
			return err
		}
		if toSend += sizes[digest] - here; toSend < 0 || toSend > math.MaxInt64/2 {
			return sluice.Errorf(sluice.CodeTooLarge, "the files are too large")
		}
	}
	if s.Disk != nil && len(missing) > 0 {
		if err := s.room(r, &out, len(missing), toSend); err != nil {
			return err
		}
	}
	return answer(w, http.StatusOK, out)
}

// partsHere notes which parts of a large file are here already, and gives
// their bytes.
func (s *server) partsHere(r *request, out *arm.MissingBlobs, digest string, size int64) (bytes int64, err error) {
	if size <= out.PartSize {
		return 0, nil
	}
	parts, err := s.Artifacts.Parts(r.Context(), sluice.LargeFile{Scope: r.scope.Workspace, Digest: digest, Size: size})
	if err != nil || len(parts) == 0 {
		return 0, err
	}
	if out.Parts == nil {
		out.Parts = map[string][]int{}
	}
	out.Parts[digest] = parts
	return min(size, int64(len(parts))*out.PartSize), nil
}

// room refuses an upload for which there is none, and warns before it comes to
// that.
func (s *server) room(r *request, out *arm.MissingBlobs, files int, bytes int64) error {
	what := fmt.Sprintf("an upload of %d files", files)
	if files == 1 {
		what = "an upload of one file"
	}
	if err := s.Disk.Check(r.Context(), what, bytes); err != nil {
		return err
	}
	use, err := s.Disk.Use(r.Context())
	if err != nil {
		return err
	}
	use.Artifacts, use.Free = use.Artifacts+bytes, use.Free-bytes
	if warning := use.Warning(); warning != "" {
		out.Notices = append(out.Notices, "with this upload, "+warning+"; `sluice prune` removes what nothing needs")
	}
	return nil
}

func (s *server) uploadBlob(w http.ResponseWriter, r *request) error {
	digest := r.vars["digest"]
	if err := sluice.CheckDigest(digest); err != nil {
		return err
	}
	if err := lengthStated(r); err != nil {
		return err
	}
	if err := s.Artifacts.PutBlob(r.Context(), digest, r.ContentLength, newPatient(w, r)); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

func lengthStated(r *request) error {
	if r.ContentLength < 0 {
		return sluice.Errorf(sluice.CodeInvalid, "the length of the file must be stated (Content-Length)")
	}
	return nil
}

// largeFile reads which file a request is about a part of.
func (r *request) largeFile() (sluice.LargeFile, error) {
	l := sluice.LargeFile{Scope: r.scope.Workspace, Digest: r.vars["digest"]}
	if err := sluice.CheckDigest(l.Digest); err != nil {
		return l, err
	}
	size, err := strconv.ParseUint(r.param("size"), 10, 63)
	if err != nil {
		return l, sluice.Errorf(sluice.CodeInvalid, "size is %.40q: it must be the file's bytes", r.param("size"))
	}
	l.Size = int64(size)
	return l, nil
}

func (s *server) uploadPart(w http.ResponseWriter, r *request) error {
	l, err := r.largeFile()
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(r.vars["part"], 10, 31)
	if err != nil {
		return sluice.Errorf(sluice.CodeInvalid, "%.40q is not the number of a part", r.vars["part"])
	}
	sum, err := strconv.ParseUint(r.param("crc32c"), 16, 32)
	if err != nil {
		return sluice.Errorf(sluice.CodeInvalid, "crc32c is %.40q: it must be the part's checksum, in hexadecimal", r.param("crc32c"))
	}
	if err := lengthStated(r); err != nil {
		return err
	}
	if err := s.Artifacts.PutPart(r.Context(), l, int(n), r.ContentLength, uint32(sum), newPatient(w, r)); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (s *server) uploadJoin(w http.ResponseWriter, r *request) error {
	l, err := r.largeFile()
	if err != nil {
		return err
	}
	if err := s.Artifacts.Join(r.Context(), l); err != nil {
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
