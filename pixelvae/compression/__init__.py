"""Pictures and sounds as files of the size that a model's bound promises."""
