"""The commands of `cas`, one file each; `castore.cli.verbs` names them and loads one at a time."""
