package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/sluice-ml/sluice"
)

// AcquireLease takes or renews the named lease for holder until ttl from now,
// and reports whether holder has it. The epoch grows by one with each new
// holder and stays the same while one holder renews, even if its lease ran out
// in between and nobody took it. It is what fences work of a former holder,
// and is 0 when ok is false.
//
// Holders are told apart by name alone, so a name must be new with every
// process. Expiry compares clocks of different servers: keep the ttl well
// above their difference, and let the epoch decide who is right.
func (s *Store) AcquireLease(ctx context.Context, name, holder string, ttl time.Duration) (epoch int64, ok bool, err error) {
	if !isText(name) || !isText(holder) || name == "" || holder == "" || ttl <= 0 {
		return 0, false, sluice.Errorf(sluice.CodeInvalid, "a lease needs a name, a holder and a positive time")
	}
	now := s.stamp()
	err = s.db.write.QueryRowContext(ctx, `
		INSERT INTO leases (name, holder, epoch, expires) VALUES ($1, $2, 1, $3)
		ON CONFLICT (name) DO UPDATE SET
			epoch = leases.epoch + CASE WHEN leases.holder = excluded.holder THEN 0 ELSE 1 END,
			holder = excluded.holder,
			expires = excluded.expires
		WHERE leases.holder = excluded.holder OR leases.expires <= $4
		RETURNING epoch`, name, holder, now+ttl.Microseconds(), now).Scan(&epoch)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, s.failed(ctx, err, "acquiring lease %s", name)
	}
	return epoch, true, nil
}

// ReleaseLease lets others take the lease at once. It does nothing when holder
// does not have it.
func (s *Store) ReleaseLease(ctx context.Context, name, holder string) error {
	_, err := s.db.write.ExecContext(ctx,
		`UPDATE leases SET expires = 0 WHERE name = $1 AND holder = $2`, name, holder)
	return s.failed(ctx, err, "releasing lease %s", name)
}
