package seed

import (
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// checkPages refuses pages that claim what their file can't hold. The library allocates what a page's
// header says, up to gigabytes, and no recover catches the end of memory.
func checkPages(f *parquet.File, content []byte) error {
	for _, group := range f.Metadata().RowGroups {
		for _, chunk := range group.Columns {
			meta := &chunk.MetaData
			start := meta.DataPageOffset
			if d := meta.DictionaryPageOffset; d > 0 && d < start {
				start = d
			}
			size := meta.TotalCompressedSize
			if start < 0 || size < 0 || start > int64(len(content)) || size > int64(len(content))-start {
				return refuse(unreadable, "a column lies outside of the file")
			}
			if err := checkChunk(content[start : start+size]); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkChunk(pages []byte) error {
	var protocol thrift.CompactProtocol
	total := 0
	for len(pages) > 0 {
		reader := protocol.NewReaderFromBytes(pages)
		var h format.PageHeader
		if err := thrift.NewDecoder(reader).Decode(&h); err != nil {
			return refuse(unreadable, "a page's header: %w", err)
		}
		pages = pages[reader.BytesRead():]
		total += max(0, int(h.UncompressedPageSize))
		values := max(h.DataPageHeader.V.NumValues, h.DataPageHeaderV2.V.NumValues, h.DictionaryPageHeader.V.NumValues)
		switch {
		case h.CompressedPageSize < 0 || int(h.CompressedPageSize) > len(pages):
			return refuse(unreadable, "a page is longer than its column")
		case h.UncompressedPageSize < 0 || total > maxFile:
			return refuse(oversized, "a column of more than %d bytes", maxFile)
		case values > maxRows:
			return refuse(oversized, "a page of %d values", values)
		}
		pages = pages[h.CompressedPageSize:]
	}
	return nil
}
