// Package store keeps resources, their history, and leases: in one SQLite file
// when Sluice runs on one machine, in PostgreSQL when several servers share
// the work. Both run the same SQL and keep the same promises, which
// storetest spells out as a conformance suite.
//
//	s, err := store.Open(ctx, "/var/lib/sluice/sluice.db", store.Options{})
//	…
//	defer s.Close()
//	e := &sluice.Endpoint{Meta: sluice.Meta{Workspace: "default", Name: "iris"}}
//	change, err := s.Commit(ctx, sluice.Change{Actor: who, Put: []sluice.Resource{e}})
//
// What is promised:
//
//   - A [sluice.Change] is written whole or not at all, and when Commit has
//     returned it survives a crash of the program and of the machine.
//   - Changes are numbered 1, 2, 3, … in the order in which they become
//     visible: who has seen change n has seen every change before it.
//   - Keys are compared without case; a resource is given back with its name
//     as it was last written.
//   - Notifications only wake. A woken loop reads the truth again.
//
// A [Store] may be used from any number of goroutines at once, and several
// stores, in this process or others, may have the same database open. Writers
// queue; readers wait for nobody. When a context ends, its error is what comes
// back; everything else a caller can act on is a [sluice.Error] with a code.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sluice-ml/sluice"
)

// Options are the settings of a [Store]. The zero value is ready to use.
type Options struct {
	// Now is the clock; time.Now when nil. Stamps are kept to the microsecond.
	Now func() time.Time
	// Logger is told what no caller can be: slog.Default() when nil.
	Logger *slog.Logger
}

// Store is an open database. [Open] makes one; Close ends it.
type Store struct {
	db  *database
	now func() time.Time
	log *slog.Logger

	stop context.CancelCauseFunc // ends the watcher
	done context.Context         // ended by Close
	wg   sync.WaitGroup

	mu      sync.Mutex
	latest  int64         // guarded by mu; the newest change this process has heard of
	changed chan struct{} // guarded by mu; closed and replaced when latest grows
	waiting int           // guarded by mu; callers inside Wait
}

// errClosed is what callers get who are still waiting when the store closes.
var errClosed = &sluice.Error{Code: sluice.CodeUnavailable, Message: "the store is closed"}

// Open opens the database at url and brings its schema up to date. The url is
// a path or sqlite:///path for SQLite, whose file is created when it is not
// there, readable by its owner only; or postgres://user@host/database.
//
// A database that a newer Sluice has written is refused, and so is a file that
// is damaged or that is no database of Sluice's.
func Open(ctx context.Context, url string, opts Options) (*Store, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	db, err := openDatabase(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	s := &Store{db: db, now: opts.Now, log: opts.Logger, changed: make(chan struct{})}
	s.done, s.stop = context.WithCancelCause(context.Background())
	if s.latest, err = s.Latest(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening store: %w", err), db.close())
	}
	s.wg.Go(s.poll)
	if db.listen != nil {
		s.wg.Go(s.listen)
	}
	return s, nil
}

// Close ends every Wait, and closes the database when the calls that are
// under way have returned. It may be called more than once.
func (s *Store) Close() error {
	s.stop(errClosed)
	s.wg.Wait()
	if err := s.db.close(); err != nil {
		return fmt.Errorf("closing store: %w", err)
	}
	return nil
}

// failed says what was being done when the database gave err. It keeps
// sluice errors and the context's end as they are.
func (s *Store) failed(ctx context.Context, err error, doing string, args ...any) error {
	if err == nil {
		return nil
	}
	doing = fmt.Sprintf(doing, args...)
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	}
	var known *sluice.Error
	if errors.As(err, &known) {
		return err
	}
	if s.done.Err() != nil {
		return fmt.Errorf("%s: %w", doing, errClosed)
	}
	return fmt.Errorf("%s: %w", doing, s.db.explain(err))
}

// stamp is the present as the store keeps it.
func (s *Store) stamp() int64 { return s.now().UnixMicro() }

func fromStamp(micros int64) time.Time { return time.UnixMicro(micros).UTC() }
