package engines

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"

	_ "github.com/mattn/go-sqlite3"
)

var sqliteEngine = Engine{
	Name: "sqlite",
	Settings: "`WITHOUT ROWID` table, WAL, prepared statements of database/sql, one connection that writes, cache of 64 MiB, mapping of 2 GiB; " +
		"durable: `synchronous=FULL`, unsynced: `synchronous=OFF`",
	Open: openSQLite,
}

const (
	sqliteGet    = "SELECT v FROM bench WHERE k = ?"
	sqliteScan   = "SELECT k, v FROM bench WHERE k >= ? ORDER BY k LIMIT ?"
	sqlitePut    = "INSERT OR REPLACE INTO bench (k, v) VALUES (?, ?)"
	sqliteDelete = "DELETE FROM bench WHERE k = ?"
)

// sqliteDB has a pool of one connection to write with, so that writers queue in
// Go instead of polling for SQLite's lock, and a pool to read with.
type sqliteDB struct {
	writer, readers *sql.DB
	put, del        *sql.Stmt
}

func openSQLite(dir string, o Options) (DB, error) {
	synchronous := "OFF"
	if o.Durable {
		synchronous = "FULL"
	}
	query := url.Values{
		"_journal_mode": {"WAL"},
		"_synchronous":  {synchronous},
		"_txlock":       {"immediate"},
		"_busy_timeout": {"60000"},
		"_cache_size":   {fmt.Sprint(-min(64<<20, o.cache()) / 1024)},
	}
	name := "file:" + filepath.Join(dir, "data.sqlite") + "?" + query.Encode()
	writer, err := sql.Open("sqlite3", name)
	if err != nil {
		return nil, err
	}
	writer.SetMaxOpenConns(1)
	if err := prepareSQLite(writer); err != nil {
		return nil, closeAfter(err, writer)
	}
	query.Set("_txlock", "deferred")
	readers, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, "data.sqlite")+"?"+query.Encode())
	if err != nil {
		return nil, closeAfter(err, writer)
	}
	db := &sqliteDB{writer: writer, readers: readers}
	if db.put, err = writer.Prepare(sqlitePut); err == nil {
		db.del, err = writer.Prepare(sqliteDelete)
	}
	if err != nil {
		return nil, closeAfter(err, db)
	}
	return db, nil
}

// prepareSQLite makes the table and maps the file.
func prepareSQLite(writer *sql.DB) error {
	_, err := writer.Exec("PRAGMA mmap_size = 2147418112")
	if err == nil {
		_, err = writer.Exec("CREATE TABLE IF NOT EXISTS bench (k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID")
	}
	return err
}

func (db *sqliteDB) Update(fn func(Writer) error) error {
	tx, err := db.writer.Begin()
	if err != nil {
		return err
	}
	if err := fn(&sqliteWriter{db: db, tx: tx}); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// Sync moves the log into the database, which waits for both.
func (db *sqliteDB) Sync() error {
	conn, err := db.writer.Conn(context.Background())
	if err != nil {
		return err
	}
	for _, statement := range []string{"PRAGMA synchronous = FULL", "PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA synchronous = OFF"} {
		if _, err := conn.ExecContext(context.Background(), statement); err != nil {
			return closeAfter(err, conn)
		}
	}
	return conn.Close()
}

func (db *sqliteDB) Close() error { return errors.Join(db.readers.Close(), db.writer.Close()) }

// sqliteWriter takes the statements into its transaction when they are needed.
type sqliteWriter struct {
	db       *sqliteDB
	tx       *sql.Tx
	put, del *sql.Stmt
}

func (w *sqliteWriter) Put(key, value []byte) error {
	if w.put == nil {
		w.put = w.tx.Stmt(w.db.put)
	}
	_, err := w.put.Exec(key, value)
	return err
}

func (w *sqliteWriter) Delete(key []byte) error {
	if w.del == nil {
		w.del = w.tx.Stmt(w.db.del)
	}
	_, err := w.del.Exec(key)
	return err
}

// sqliteSession has a connection of its own.
type sqliteSession struct {
	conn      *sql.Conn
	get, scan *sql.Stmt
}

func (db *sqliteDB) NewSession() (Session, error) {
	ctx := context.Background()
	conn, err := db.readers.Conn(ctx)
	if err != nil {
		return nil, err
	}
	s := &sqliteSession{conn: conn}
	_, err = conn.ExecContext(ctx, "PRAGMA mmap_size = 2147418112")
	if err == nil {
		s.get, err = conn.PrepareContext(ctx, sqliteGet)
	}
	if err == nil {
		s.scan, err = conn.PrepareContext(ctx, sqliteScan)
	}
	if err != nil {
		return nil, closeAfter(err, conn)
	}
	return s, nil
}

// ViewGet needs no more than the statement, which is a transaction.
func (s *sqliteSession) ViewGet(key []byte, use func([]byte)) (bool, error) {
	return s.Get(key, use)
}

func (s *sqliteSession) Begin() error { return s.exec("BEGIN") }
func (s *sqliteSession) End() error   { return s.exec("COMMIT") }

func (s *sqliteSession) exec(statement string) error {
	_, err := s.conn.ExecContext(context.Background(), statement)
	return err
}

func (s *sqliteSession) Get(key []byte, use func([]byte)) (bool, error) {
	rows, err := s.get.Query(key)
	if err != nil {
		return false, err
	}
	n, err := useRows(rows, func(rows *sql.Rows) error {
		var v sql.RawBytes
		if err := rows.Scan(&v); err != nil {
			return err
		}
		use(v)
		return nil
	})
	return n > 0, err
}

func (s *sqliteSession) Scan(from []byte, n int, use func(k, v []byte)) (int, error) {
	rows, err := s.scan.Query(from, n)
	if err != nil {
		return 0, err
	}
	return useRows(rows, func(rows *sql.Rows) error {
		var k, v sql.RawBytes
		if err := rows.Scan(&k, &v); err != nil {
			return err
		}
		use(k, v)
		return nil
	})
}

// useRows calls use for each row, closes the rows and says how many there were.
func useRows(rows *sql.Rows, use func(*sql.Rows) error) (n int, err error) {
	for rows.Next() {
		if err := use(rows); err != nil {
			return n, closeAfter(err, rows)
		}
		n++
	}
	return n, errors.Join(rows.Err(), rows.Close())
}

func (s *sqliteSession) Close() error {
	return errors.Join(s.get.Close(), s.scan.Close(), s.conn.Close())
}
