// Package identity makes and keeps the secrets of one Sluice: the local
// certificate authority, the admin credential, and the keys of endpoints.
//
//	ca, err := identity.OpenCA(certFile, keyFile, time.Now, "endpoints.example.com")
//	config, err := ca.ServerTLS("localhost", "127.0.0.1", "::1", "*.endpoints.example.com")
//	roots, err := identity.SystemRoots(bundleFile)
//	err = ca.WriteBundle(bundleFile, roots)
//	credential, err := identity.OpenCredential(file)
//	actor, err := identity.NewAuthenticator(credential).Authenticate(request)
//	keys, err := identity.OpenEndpointKeys(file)
//
// Each Open function makes what does not exist yet. Several processes may open
// the same files at the same moment: one of them makes the secret and all of
// them end up with it. Files that hold a secret are written 0600 and refused
// when others than their owner can read them.
//
// All types may be used from any number of goroutines.
package identity
