"""Where images come from: class folders, archives, tables, drawings."""
