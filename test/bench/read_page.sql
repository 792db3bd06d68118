SELECT * FROM pointstore.read_feed(:after, 1000);
