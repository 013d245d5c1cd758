package store

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"

	"github.com/sluice-ml/sluice"
)

//go:embed migrations/*.sql
var migrations embed.FS

// schemaTable is where the database says which migrations it has seen.
const schemaTable = "sluice_schema"

// migrate brings the schema up to date. Migrations only go forward.
func (db *database) migrate(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(db.goose, db.write, files,
		goose.WithTableName(schemaTable), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("reading the schema: %w", err)
	}
	// Each migration is one transaction, but looking and applying is not: when
	// two processes start on a new file, one finds the other's tables in its
	// way. The second look then finds nothing left to do.
	for range 5 {
		if err = db.explain(db.upgrade(ctx, p)); err == nil {
			return nil
		}
		var known *sluice.Error
		if ctx.Err() != nil || errors.As(err, &known) {
			return err
		}
	}
	return err
}

func (db *database) upgrade(ctx context.Context, p *goose.Provider) error {
	has, knows, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("reading the schema version: %w", err)
	}
	if has > knows {
		return sluice.Errorf(sluice.CodeUnavailable,
			"the database %s was written by a newer Sluice: its schema is number %d and this program knows %d", db.name, has, knows).
			WithHint("run that newer version, or restore a backup from before the upgrade")
	}
	if has == knows {
		return nil
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("upgrading the schema: %w", err)
	}
	return nil
}
