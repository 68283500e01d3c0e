"""How well filters tell spam from other mail: ours, bogofilter and SpamAssassin on the same messages."""
