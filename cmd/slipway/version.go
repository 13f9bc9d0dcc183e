package main

// version is what clients are told; it follows CHANGELOG.md.
const version = "0.1.0"
