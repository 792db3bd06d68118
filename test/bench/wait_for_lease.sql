CALL pointstore.wait_for_lease('one', 'bench', '30 s', '60 s') \gset
SELECT pointstore.release_lease('one', :token);
