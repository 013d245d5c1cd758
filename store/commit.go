package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sluice-ml/sluice"
)

// maxBody is the largest resource, in bytes of JSON.
const maxBody = 4 << 20

// write is one put or delete, made ready outside the transaction.
type write struct {
	key    sluice.Key // folded
	shown  sluice.Key // as the caller wrote it
	header *sluice.Meta
	expect int64  // change number it was read with; 0 for a put of something new
	body   []byte // nil for a delete
}

// row is what the database has of a resource beside its body's fields.
type row struct {
	generation int64
	change     int64
	created    sluice.Stamp
	modified   sluice.Stamp
}

func (r row) fill(m *sluice.Meta) {
	m.Generation, m.Change, m.Created, m.Modified = r.generation, r.change, r.created, r.modified
}

// Commit writes a change, whole or not at all, and gives its number, by the
// rules of [sluice.Change]. On success the Meta of every resource that was put
// says what is stored now; otherwise nothing is touched.
//
// A key may occur once in a change, and a delete needs the change number it
// was read with. Putting a resource as it already is counts as a change like
// any other. A change without writes gets the latest number and no own one.
// Names keep the case they were last put with.
//
// When ctx ends or the connection to the database breaks while the change is
// being committed, the error does not say whether it was: read again.
func (s *Store) Commit(ctx context.Context, c sluice.Change) (int64, error) {
	writes, err := plan(c)
	if err != nil {
		return 0, err
	}
	if len(writes) == 0 {
		return s.Latest(ctx)
	}
	tx, err := s.db.write.BeginTx(ctx, s.db.tx)
	if err != nil {
		return 0, s.failed(ctx, err, "beginning a change")
	}
	defer tx.Rollback() // does nothing after the commit
	t := &transaction{tx: tx, change: c, actor: cleanActor(c.Actor)}
	rows, err := t.apply(ctx, s.stamp, writes)
	if err == nil && s.db.notify != "" {
		_, err = tx.ExecContext(ctx, s.db.notify)
	}
	if err != nil {
		return 0, s.failed(ctx, err, "writing a change")
	}
	if err := tx.Commit(); err != nil {
		return 0, s.failed(ctx, err, "committing a change")
	}
	for i, w := range writes {
		if w.body != nil {
			rows[i].fill(w.header)
		}
	}
	s.wake(t.number)
	return t.number, nil
}

// plan checks a change as far as that goes without the database.
func plan(c sluice.Change) ([]write, error) {
	var writes []write
	seen := map[sluice.Key]bool{}
	add := func(r sluice.Resource, put bool) error {
		if r == nil {
			return sluice.Errorf(sluice.CodeInvalid, "a change holds a resource that is nil")
		}
		w := write{shown: r.Key(), header: r.Header(), expect: r.Header().Change}
		var err error
		if w.key, err = checkKey(w.shown); err != nil {
			return err
		}
		if seen[w.key] {
			return sluice.Errorf(sluice.CodeInvalid, "%s occurs twice in one change", describe(w.shown))
		}
		seen[w.key] = true
		if put {
			w.body, err = encode(r)
		}
		if w.expect < 0 || !put && w.expect == 0 {
			return sluice.Errorf(sluice.CodeInvalid, "%s is to be written without the change number it was read with", describe(w.shown))
		}
		writes = append(writes, w)
		return err
	}
	for _, r := range c.Put {
		if err := add(r, true); err != nil {
			return nil, err
		}
	}
	for _, r := range c.Delete {
		if err := add(r, false); err != nil {
			return nil, err
		}
	}
	return writes, nil
}

func encode(r sluice.Resource) ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("writing %s as JSON: %w", describe(r.Key()), err)
	}
	if len(body) > maxBody {
		return nil, sluice.Errorf(sluice.CodeTooLarge, "%s is too large to be kept: %d bytes of at most %d", describe(r.Key()), len(body), maxBody)
	}
	return body, nil
}

func cleanActor(a sluice.Actor) sluice.Actor {
	return sluice.Actor{Name: cleaned(a.Name), From: cleaned(a.From), Client: cleaned(a.Client)}
}

// transaction is one change while it is being written.
type transaction struct {
	tx     *sql.Tx
	change sluice.Change
	actor  sluice.Actor
	number int64
	at     int64
}

// apply takes the change number, which makes every other writer wait until
// this one is done, and then does the writes. It gives the new rows.
func (t *transaction) apply(ctx context.Context, clock func() int64, writes []write) ([]row, error) {
	err := t.tx.QueryRowContext(ctx, `UPDATE counter SET value = value + 1 WHERE id = 1 RETURNING value`).Scan(&t.number)
	if err != nil {
		return nil, fmt.Errorf("taking the change number: %w", err)
	}
	t.at = clock() // now, and not when we began to queue
	rows := make([]row, len(writes))
	for i, w := range writes {
		switch {
		case w.body == nil:
			err = t.remove(ctx, w)
		case w.expect == 0:
			rows[i], err = t.create(ctx, w)
		default:
			rows[i], err = t.update(ctx, w)
		}
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}

func (t *transaction) stamp() sluice.Stamp {
	return sluice.Stamp{At: fromStamp(t.at), By: t.actor.Name}
}

func (t *transaction) create(ctx context.Context, w write) (row, error) {
	res, err := t.tx.ExecContext(ctx, `
		INSERT INTO resources (workspace, kind, name, version, body, generation, change, born,
			created_at, created_by, modified_at, modified_by)
		VALUES ($1, $2, $3, $4, $5, 1, $6, $6, $7, $8, $7, $8)
		ON CONFLICT (workspace, kind, name, version) DO NOTHING`,
		w.key.Workspace, string(w.key.Kind), w.key.Name, w.key.Version, string(w.body), t.number, t.at, t.actor.Name)
	if err != nil {
		return row{}, fmt.Errorf("creating %s: %w", describe(w.shown), err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return row{}, fmt.Errorf("creating %s: %w", describe(w.shown), err)
	}
	if n == 0 {
		return row{}, exists(w.shown)
	}
	r := row{generation: 1, change: t.number, created: t.stamp(), modified: t.stamp()}
	return r, t.record(ctx, w, "create", nil, r.generation)
}

func (t *transaction) update(ctx context.Context, w write) (row, error) {
	r, before, err := t.current(ctx, w)
	if err != nil {
		return row{}, err
	}
	r.change = t.number
	modified := stampOf(r.modified)
	if !t.change.Observed {
		r.generation++
		r.modified, modified = t.stamp(), t.at
	}
	_, err = t.tx.ExecContext(ctx, `
		UPDATE resources SET body = $5, generation = $6, change = $7, modified_at = $8, modified_by = $9
		WHERE workspace = $1 AND kind = $2 AND name = $3 AND version = $4`,
		w.key.Workspace, string(w.key.Kind), w.key.Name, w.key.Version,
		string(w.body), r.generation, r.change, modified, r.modified.By)
	if err != nil {
		return row{}, fmt.Errorf("updating %s: %w", describe(w.shown), err)
	}
	return r, t.record(ctx, w, "update", before, r.generation)
}

func (t *transaction) remove(ctx context.Context, w write) error {
	r, before, err := t.current(ctx, w)
	if err != nil {
		return err
	}
	_, err = t.tx.ExecContext(ctx,
		`DELETE FROM resources WHERE workspace = $1 AND kind = $2 AND name = $3 AND version = $4`,
		w.key.Workspace, string(w.key.Kind), w.key.Name, w.key.Version)
	if err != nil {
		return fmt.Errorf("deleting %s: %w", describe(w.shown), err)
	}
	return t.record(ctx, w, "delete", before, r.generation)
}

// current reads what w is about to overwrite, which must still be what the
// caller read. Nobody can change it before this transaction ends, because they
// would need the counter first.
func (t *transaction) current(ctx context.Context, w write) (row, []byte, error) {
	res := t.tx.QueryRowContext(ctx, `SELECT `+columns+` FROM resources
		WHERE workspace = $1 AND kind = $2 AND name = $3 AND version = $4`,
		w.key.Workspace, string(w.key.Kind), w.key.Name, w.key.Version)
	r, body, err := scan(res)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return row{}, nil, stale(w.shown, true)
	case err != nil:
		return row{}, nil, fmt.Errorf("reading %s: %w", describe(w.shown), err)
	case r.change != w.expect:
		return row{}, nil, stale(w.shown, false)
	}
	return r, body, nil
}

// record adds a line of history, unless the change is only an observation. What
// happened to a deployment is one, whatever it is written with: it is forgotten in
// time, and history is not.
func (t *transaction) record(ctx context.Context, w write, verb string, before []byte, generation int64) error {
	if t.change.Observed || w.key.Kind == sluice.KindDeploymentEvent {
		return nil
	}
	changes, err := diff(before, w.body)
	if err != nil {
		return fmt.Errorf("comparing %s: %w", describe(w.shown), err)
	}
	lines, err := plainJSON(changes)
	if err != nil {
		return fmt.Errorf("writing the history of %s: %w", describe(w.shown), err)
	}
	shown, err := plainJSON(w.shown)
	if err != nil {
		return fmt.Errorf("writing the history of %s: %w", describe(w.shown), err)
	}
	_, err = t.tx.ExecContext(ctx, `
		INSERT INTO history (workspace, kind, name, version, change, at, verb, generation,
			actor_name, actor_from, actor_client, shown_key, diff)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
		w.key.Workspace, string(w.key.Kind), w.key.Name, w.key.Version, t.number, t.at, verb, generation,
		t.actor.Name, t.actor.From, t.actor.Client, shown, lines)
	if err != nil {
		return fmt.Errorf("writing the history of %s: %w", describe(w.shown), err)
	}
	return nil
}
