"""Who may ask, who asked, and text from outside made harmless."""
