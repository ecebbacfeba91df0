"""One module a kind of data: each turns a data set as published into prepared studies (see `store`)."""
