package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-ml/sluice"
)

// columns are what scan reads, in its order.
const columns = `body, generation, change, created_at, created_by, modified_at, modified_by`

// scan reads columns, and before them whatever the query has there.
func scan(from interface{ Scan(...any) error }, before ...any) (row, []byte, error) {
	var r row
	var body []byte
	var created, modified int64
	err := from.Scan(append(before, &body, &r.generation, &r.change, &created, &r.created.By, &modified, &r.modified.By)...)
	r.created.At, r.modified.At = fromStamp(created), fromStamp(modified)
	return r, body, err
}

func stampOf(s sluice.Stamp) int64 { return s.At.UnixMicro() }

func decode(kind sluice.Kind, body []byte, r row) (sluice.Resource, error) {
	res := sluice.New(kind)
	if err := json.Unmarshal(body, res); err != nil {
		return nil, fmt.Errorf("reading a stored %s: %w", kindWords(kind), err)
	}
	r.fill(res.Header())
	return res, nil
}

// Get gives the resource at key. When there is none the error's code is
// [sluice.CodeNotFound].
func (s *Store) Get(ctx context.Context, key sluice.Key) (sluice.Resource, error) {
	k, err := checkKey(key)
	if err != nil {
		if sluice.New(k.Kind) != nil && k.Workspace != "" {
			return nil, notFound(key) // such a name cannot have been stored
		}
		return nil, err
	}
	r, body, err := scan(s.db.read.QueryRowContext(ctx, `SELECT `+columns+` FROM resources
		WHERE workspace = $1 AND kind = $2 AND name = $3 AND version = $4`,
		k.Workspace, string(k.Kind), k.Name, k.Version))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, notFound(key)
	}
	if err != nil {
		return nil, s.failed(ctx, err, "reading %s", describe(key))
	}
	return decode(k.Kind, body, r)
}

// List gives the resources q selects, ordered by folded name and then by
// creation, or newest first. Paging goes on where the page before ended,
// whatever has been created and deleted since: nothing that stays is left out
// or given twice.
func (s *Store) List(ctx context.Context, q sluice.Query) (sluice.Page, error) {
	query, args, err := selection(q)
	if err != nil {
		return sluice.Page{}, err
	}
	rows, err := s.db.read.QueryContext(ctx, query, args...)
	if err != nil {
		return sluice.Page{}, s.failed(ctx, err, "listing every %s", kindWords(q.Kind))
	}
	defer rows.Close()
	var page sluice.Page
	var last, at cursor
	for rows.Next() {
		r, body, err := scan(rows, &at.Workspace, &at.Name, &at.Version, &at.Born)
		if err != nil {
			return sluice.Page{}, s.failed(ctx, err, "listing every %s", kindWords(q.Kind))
		}
		if q.Limit > 0 && len(page.Items) == q.Limit {
			page.Next = last.token(q) // the row beyond the limit is there only to say so
			break
		}
		item, err := decode(q.Kind, body, r)
		if err != nil {
			return sluice.Page{}, err
		}
		page.Items = append(page.Items, item)
		last = at
	}
	if err := rows.Err(); err != nil {
		return sluice.Page{}, s.failed(ctx, err, "listing every %s", kindWords(q.Kind))
	}
	return page, nil
}

// History gives what was done to the thing at key, newest first: at most limit
// lines, or all of them when limit is 0. It survives the thing itself, and
// goes on when a new one gets its name.
func (s *Store) History(ctx context.Context, key sluice.Key, limit int) ([]sluice.Event, error) {
	k, err := checkKey(key)
	if err != nil {
		return nil, err
	}
	query := `SELECT change, at, verb, generation, actor_name, actor_from, actor_client, shown_key, diff FROM history
		WHERE workspace = $1 AND kind = $2 AND name = $3 AND version = $4 ORDER BY change DESC`
	args := []any{k.Workspace, string(k.Kind), k.Name, k.Version}
	if limit > 0 {
		query += ` LIMIT $5`
		args = append(args, limit)
	}
	rows, err := s.db.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, s.failed(ctx, err, "reading the history of %s", describe(key))
	}
	defer rows.Close()
	var events []sluice.Event
	for rows.Next() {
		e, err := scanEvent(rows)
		if err != nil {
			return nil, s.failed(ctx, err, "reading the history of %s", describe(key))
		}
		events = append(events, e)
	}
	return events, s.failed(ctx, rows.Err(), "reading the history of %s", describe(key))
}

func scanEvent(rows *sql.Rows) (sluice.Event, error) {
	var e sluice.Event
	var at int64
	var key, changes []byte
	err := rows.Scan(&e.Change, &at, &e.Verb, &e.Generation, &e.Actor.Name, &e.Actor.From, &e.Actor.Client, &key, &changes)
	if err != nil {
		return e, err
	}
	e.At = time.UnixMicro(at).UTC()
	return e, errors.Join(json.Unmarshal(key, &e.Key), json.Unmarshal(changes, &e.Diff))
}

// Getter is what [Read] needs of a store.
type Getter interface {
	Get(ctx context.Context, key sluice.Key) (sluice.Resource, error)
}

// Lister is what [ReadAll] needs of a store.
type Lister interface {
	List(ctx context.Context, q sluice.Query) (sluice.Page, error)
}

// Read is Get for a caller who knows the type: Read[*sluice.Endpoint].
func Read[T sluice.Resource](ctx context.Context, s Getter, key sluice.Key) (T, error) {
	var none T
	r, err := s.Get(ctx, key)
	if err != nil {
		return none, err
	}
	t, ok := r.(T)
	if !ok {
		return none, fmt.Errorf("reading %s: it is a %T, not a %T", describe(key), r, none)
	}
	return t, nil
}

// ReadAll is List, page by page to the end, for a caller who knows the type.
// q.Limit is the size of one page.
func ReadAll[T sluice.Resource](ctx context.Context, s Lister, q sluice.Query) ([]T, error) {
	var all []T
	for {
		page, err := s.List(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, r := range page.Items {
			t, ok := r.(T)
			if !ok {
				var none T
				return nil, fmt.Errorf("listing every %s: one is a %T, not a %T", kindWords(q.Kind), r, none)
			}
			all = append(all, t)
		}
		if page.Next == "" {
			return all, nil
		}
		q.After = page.Next
	}
}
