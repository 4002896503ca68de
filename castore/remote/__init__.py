"""The bucket: transports, root, packs and indexes; nothing here knows of a store's database."""
