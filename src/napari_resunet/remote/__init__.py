"""Computing on another computer: what travels, the client, and the server."""
