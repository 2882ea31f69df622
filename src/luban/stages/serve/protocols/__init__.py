"""How clients speak to the server, one file a protocol; a protocol turns bytes to rows and answers to JSON, and knows no task."""
