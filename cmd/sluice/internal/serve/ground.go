package serve

import (
	"context"
	"errors"
	"net"
	"os"

	"github.com/sluice-ml/sluice/identity"
)

// ground is what the server and the gateway both stand on: a listening socket,
// the certainty of being the only one of its kind, the local authority and the
// admin credential.
type ground struct {
	listener   net.Listener
	lock       *os.File
	ca         *identity.CA
	credential identity.Credential
}

// stand gets the ground for the process of that name.
func stand(ctx context.Context, c Config, name, address, lockFile string) (_ *ground, err error) {
	g := &ground{}
	defer func() {
		if err != nil {
			g.Close()
		}
	}()
	if g.listener, err = listen(address); err != nil {
		return nil, err
	}
	if g.lock, err = alone(ctx, lockFile, name); err != nil {
		return nil, err
	}
	if g.ca, err = openCA(c); err != nil {
		return nil, err
	}
	g.credential, err = identity.OpenCredential(c.Home.Credential())
	return g, err
}

// Close gives back what was got so far.
func (g *ground) Close() error {
	var errs []error
	if g.listener != nil {
		errs = append(errs, g.listener.Close())
	}
	if g.lock != nil {
		errs = append(errs, g.lock.Close())
	}
	return errors.Join(errs...)
}
