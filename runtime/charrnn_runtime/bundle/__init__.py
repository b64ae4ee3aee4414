"""Bundles and exported files: description, manifest, golden transcript, and how they are opened."""
