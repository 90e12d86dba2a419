"""Sources of images: class folders, archives, tables, drawings."""
