"""What each click, key and result means; no Qt here, and no controller knows another."""
