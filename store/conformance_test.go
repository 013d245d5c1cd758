package store_test

import (
	"testing"

	"github.com/sluice-ml/sluice/store/storetest"
)

func TestSQLite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Opener { return storetest.SQLite(t) })
}

func TestPostgres(t *testing.T) {
	pg := storetest.StartPostgres(t)
	storetest.Run(t, func(t *testing.T) storetest.Opener { return pg.Opener(t) })
}
