// Package artifact keeps the files of models and code as content-addressed
// trees, and knows how a folder on a user's disk becomes such a tree.
//
// A [Store] holds blobs by the digest of their bytes and trees by the digest of
// their listing. Upload what [Store.Missing] names with [Store.PutBlob], then
// [Store.PutTree]; what is put is on the disk when the call returns, and a
// broken upload leaves nothing that can be seen. A large file may come in parts
// ([Store.PutPart], then [Store.Join]), several at once: those that have
// arrived survive whatever is killed, and [Store.Parts] names them to whoever
// goes on. [Store.Materialize] places a tree as a read-only folder. [Scan] is
// the other end: it reads a folder or a file into a tree, with the files that
// .amlignore or .gitignore name left out.
//
// # Layout
//
//	blobs/ab/ab12…    the bytes, mode 0444, last changed at a time made from the digest
//	blobs/ab/ab12….x  the same bytes, mode 0555, made when an executable is first placed
//	trees/ab/ab12…    the listing, as JSON
//	parts/12ef…/      a large file on its way in: data, with holes, and which parts it has
//	tmp/              small ones on their way in
//	lock              held alone while something is removed, shared while something is promised
//
// # Collection
//
// [Store.Sweep] removes what nothing needs. The caller says which trees are
// needed; a tree needs its blobs. The rest goes when nobody has used it for
// [Grace]: an upload that is told that a file is there, a tree that was put, a
// tree that was asked for, all count as use, which is kept as the file's time
// of last access. Use is noted under the shared lock, and each removal looks
// at it once more alone; so between being told that something is there and
// registering it, nothing is lost, whatever else goes on.
//
// A blob's time of last change is its seal. Materialised files may share the
// blob's inode, so a program that runs as our own user could write through one;
// that changes the time, the blob is read again before it is used, and one that
// no longer has its digest is taken for missing, so the next upload heals it.
//
// A Store may be used from any number of goroutines, and several processes may
// open one directory.
package artifact
