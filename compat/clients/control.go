package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// breakDelete makes Bucket.Delete do nothing in the builds to come.
func (b *bench) breakDelete() error {
	source := filepath.Join(b.root, "bucket.go")
	text, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	const signature = "func (b *Bucket) Delete(key []byte) (err error) {\n"
	if bytes.Count(text, []byte(signature)) != 1 {
		return fmt.Errorf("%s: there is no %q", source, signature)
	}
	broken := filepath.Join(b.scratch, "bucket.go")
	text = bytes.Replace(text, []byte(signature), []byte(signature+"\tif len(key) >= 0 {\n\t\treturn nil\n\t}\n"), 1)
	if err := os.WriteFile(broken, text, 0o600); err != nil {
		return err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {source: broken}})
	if err != nil {
		return err
	}
	b.overlay = filepath.Join(b.scratch, "overlay.json")
	return os.WriteFile(b.overlay, overlay, 0o600)
}
