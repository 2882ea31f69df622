"""How clients speak to the server, one file a protocol; bytes to rows and answers to JSON; a protocol knows no task."""
