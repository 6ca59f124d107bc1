"""Tables of incidents: what checks of windows found, the incidents and their pages, what humans did about them."""
