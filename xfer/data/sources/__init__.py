"""Where images and labels come from: folders, tables, arrays, other libraries' data sets."""
