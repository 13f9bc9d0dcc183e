// Package imagestore gets images, verifies and unpacks them, gives them names,
// and describes the root file systems that containers are made of.
//
// It is not a mounter: a [Root] is a list of directories, and whoever starts
// the container puts the overlay together. It is not a cache of compressed
// layers either: a layer passes once through fetch, hash, decompress, hash and
// unpack, and only the unpacked tree stays.
//
// Everything lives below two directories, all mode 0700:
//
//	<root>/images/{blobs,layers,refs}    content, and the names of content
//	<root>/containers/<id>/{upper,work}  one writable layer per container
//
// State is which files exist. FORMAT.md describes each of them.
//
// The trap: image bytes, image configurations and registry replies are
// hostile. Nothing in them may choose a path on the host, and nothing is
// visible under its final name before it was verified and synced.
package imagestore
