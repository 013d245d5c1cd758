// Package backup writes all of an installation that cannot be made again into
// one file, while it runs, and builds an installation from such a file.
//
//	m, err := backup.Write(ctx, w, backup.Source{Home: dir, Scratch: tmp, …})
//	m, err := backup.Read(ctx, r, sink)       // what is in one, verified
//	done, err := backup.Restore(ctx, r, backup.Target{Home: dir})
//
// # What is in it
//
//	manifest.json        format, versions, when; sizes and digests of what follows
//	sluice.db            resources, history, operations; revisions hold the locks of environments
//	seal.key             what endpoint keys are encrypted with
//	ca.pem, ca-key.pem   the local authority
//	admin.json           the admin credential
//	sluice.yml           the settings, where there are any
//	trees/HEX            listings of the uploaded folders that the database needs
//	blobs/HEX            their files, by digest
//
// It is a tar file in this order, so that a reader knows what may come before it
// comes. Environments, logs and instances are not in it: they are made again.
//
// # Consistency
//
// The database is copied in one read transaction, as it is between two changes.
// What this copy needs of the uploaded files is then asked for, and nothing is
// collected in between: what was asked for stays for [artifact.Grace], and is
// asked for again while the files are read.
//
// # What a reader believes
//
// Nothing. Names it does not know, links, what is larger than announced, what
// comes twice or is missing, and every byte that does not have its digest is
// refused, before anything is put in place. The digests tell damage and not
// forgery: who can write the file can write its manifest.
package backup
