package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-ml/sluice"
	"github.com/sluice-ml/sluice/backup"
	"github.com/sluice-ml/sluice/cmd/sluice/internal/parent"
	"github.com/sluice-ml/sluice/cmd/sluice/internal/progress"
	"github.com/sluice-ml/sluice/disk"
	"github.com/sluice-ml/sluice/engine/process/shim"
	"github.com/sluice-ml/sluice/home"
)

// standardStream is how standard input and output are named.
const standardStream = "-"

func (p *program) backupCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "backup", Short: "Write all that cannot be made again to one file", Args: noArgs,
		Long: "Writes one file with the database, the uploaded files that it needs, the keys, the certificate\n" +
			"authority, the admin credential and the settings of this machine's state directory. It is as things\n" +
			"were at one moment, and nothing has to be stopped for it. Environments, logs and instances are not in\n" +
			"it: they are made again.\n\n" +
			"The file holds secrets: who has it can do all that the admin can. It is made readable by its owner\n" +
			"only; keep it so.",
		Example: "  sluice backup -o sluice-$(date +%F).tar                  one file, whole or not there\n" +
			"  sluice backup -o - | zstd > /mnt/sluice.tar.zst          through another program\n" +
			"  sluice backup -o - | ssh elsewhere 'umask 077; cat > sluice.tar'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch file {
			case "":
				return usage("--output is missing: name a file, or - for standard output")
			case standardStream:
				return p.backupToStdout(cmd.Context())
			}
			return p.backupTo(cmd.Context(), file)
		},
	}
	// Here it names a file: there is no result to print in one format or another.
	cmd.Flags().StringVarP(&file, "output", "o", "", "the `file` to write; - for standard output")
	return cmd
}

func (p *program) restoreCommand() *cobra.Command {
	var dir string
	var force bool
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Build the state directory from a backup",
		Long: "Builds a state directory from a file that `sluice backup` wrote; - reads standard input. Everything is\n" +
			"verified before anything is put in place, in one step. Then `sluice up` brings every endpoint back under\n" +
			"the same address and keys, makes the environments again and starts the instances.\n\n" +
			"Sluice must not run there. What is there already is moved aside with --force, and never deleted.",
		Example: "  sluice restore sluice-2026-11-26.tar && sluice up --detach\n" +
			"  sluice restore sluice-2026-11-26.tar --home /srv/sluice     elsewhere than in $SLUICE_HOME\n" +
			"  zstd -dc /mnt/sluice.tar.zst | sluice restore -             through another program\n" +
			"  sluice restore sluice-2026-11-26.tar --force                go back to it; what is there is kept aside",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("name one backup to restore, or - for standard input")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return p.restore(cmd.Context(), args[0], dir, force) },
	}
	cmd.Flags().StringVar(&dir, "home", "", "the state `directory` (default $SLUICE_HOME, or where `sluice up` looks)")
	cmd.Flags().BoolVar(&force, "force", false, "move what is there aside")
	return cmd
}

// backupTo writes a backup beside the file that is named, and renames it.
func (p *program) backupTo(ctx context.Context, file string) (err error) {
	file, err = filepath.Abs(file)
	if err != nil {
		return err
	}
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() {
		return usage("%s is not a file", file)
	}
	if _, err := os.Stat(filepath.Dir(file)); errors.Is(err, fs.ErrNotExist) {
		return sluice.Errorf(sluice.CodeNotFound, "there is no folder %s for the backup", filepath.Dir(file)).
			WithHint("make it with mkdir -p, or name a file elsewhere")
	}
	defer func() { err = disk.Explain("the backup", filepath.Dir(file), err) }()
	scratch, err := backup.NewScratch(filepath.Dir(file), filepath.Base(file))
	if err != nil {
		return err
	}
	defer scratch.Remove()
	made := filepath.Join(scratch.Dir, "backup.tar")
	out, err := os.OpenFile(made, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("writing the backup: %w", err)
	}
	m, err := p.takeBackup(ctx, out, scratch)
	if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
		return err
	}
	if err := os.Rename(made, file); err != nil {
		return fmt.Errorf("writing the backup: %w", err)
	}
	if err := backup.SyncFolder(filepath.Dir(file)); err != nil {
		return fmt.Errorf("writing the backup: %w", err)
	}
	p.saidBackup("is in "+file, m)
	return nil
}

func (p *program) backupToStdout(ctx context.Context) error {
	if _, tty := terminal(p.stdout); tty {
		return usage("a backup holds secrets and is not for a terminal: send it to a file or a program")
	}
	scratch, err := backup.NewScratch(os.TempDir(), "sluice-backup")
	if err != nil {
		return err
	}
	defer scratch.Remove()
	out := bufio.NewWriterSize(p.stdout, 1<<20)
	m, err := p.takeBackup(ctx, out, scratch)
	if err := errors.Join(err, out.Flush()); err != nil {
		return disk.Explain("the backup", "standard output", err)
	}
	p.saidBackup("went to standard output", m)
	return nil
}

func (p *program) takeBackup(ctx context.Context, w io.Writer, scratch *backup.Scratch) (backup.Manifest, error) {
	dir, err := p.home()
	if err != nil {
		return backup.Manifest{}, err
	}
	shown := p.progress()
	defer shown.Close()
	return backup.Write(ctx, w, backup.Source{Home: dir, Version: version, Scratch: scratch.Dir, Report: reporter(shown, "backup")})
}

func (p *program) saidBackup(went string, m backup.Manifest) {
	p.note("The backup %s: %s, with %d uploaded files. It holds secrets: keep it to yourself.", went, sluice.FormatBytes(m.Bytes), m.Blobs)
}

// slow is how long something takes before it is worth showing how far it is.
const slow = time.Second

// reporter shows how far a copy is, once it takes long.
func reporter(shown *progress.Progress, name string) func(done, total int64) {
	start := time.Now()
	last := start
	return func(done, total int64) {
		now := time.Now()
		if now.Sub(start) < slow || done < total && now.Sub(last) < slow/10 {
			return
		}
		last = now
		shown.Update(progress.Step{Name: name, Detail: progress.Bytes(done) + " of " + progress.Bytes(total), Done: done == total})
	}
}

func (p *program) restore(ctx context.Context, file, dir string, force bool) error {
	target, err := p.home()
	if dir != "" {
		var abs string
		abs, err = filepath.Abs(dir)
		target = home.Dir(abs)
	}
	if err != nil {
		return err
	}
	release, err := quiet(target)
	if err != nil {
		return err
	}
	defer release()
	in := p.stdin
	if file != standardStream {
		f, err := os.Open(file)
		if errors.Is(err, os.ErrNotExist) {
			return sluice.Errorf(sluice.CodeNotFound, "there is no backup %s", file)
		}
		if err != nil {
			return fmt.Errorf("reading the backup: %w", err)
		}
		defer f.Close()
		in = f
	}
	shown := p.progress()
	defer shown.Close()
	done, err := backup.Restore(ctx, in, backup.Target{Home: target, Force: force, Report: reporter(shown, "restore")})
	if err != nil {
		return err
	}
	shown.Close()
	p.note("%s is as it was at %s.", target, done.Taken.Local().Format(time.DateTime))
	if done.Aside != "" {
		p.note("What was there is in %s.", done.Aside)
	}
	p.note("`sluice up` brings everything back.")
	return nil
}

// quiet refuses a state directory in which anything of Sluice's runs, and keeps
// it from starting there until release is called.
func quiet(dir home.Dir) (release func(), err error) {
	release, err = parent.Hold(dir)
	if errors.Is(err, parent.ErrRunning) {
		return nil, sluice.Errorf(sluice.CodeBusy, "Sluice runs in %s", dir).WithHint("`sluice down` stops it")
	}
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir.Instances())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		release()
		return nil, fmt.Errorf("looking for instances: %w", err)
	}
	for _, e := range entries {
		if pid, err := shim.Holder(filepath.Join(dir.Instances(), e.Name())); err == nil && pid != 0 {
			release()
			return nil, sluice.Errorf(sluice.CodeBusy, "instances still run in %s, although Sluice does not", dir).
				WithHint("`sluice up --detach` and then `sluice down` stop them")
		}
	}
	return release, nil
}
