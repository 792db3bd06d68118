# src/updates/update.awk
#
# Makes an update script of what is special to it (first file) and of the install script
# (second file): what is there already is replaced, so it keeps its GRANTs; of the types
# those stay that the first one says.

FNR == 1 { file++ }
file == 1 && sub(/^-- types that stay: /, "") { for (i = 1; i <= NF; i++) stays["pointstore." $i]; next }
file == 1 { special = special $0 "\n"; next }
FNR == 1 { print "/* made by make from src/updates and the install script */"; next }
/^\\echo / {
	sub(/"CREATE EXTENSION pointstore"/, "\"ALTER EXTENSION pointstore UPDATE\"")
	print
	print ""
	printf "%s", special
	next
}
/^CREATE TYPE / && ($3 in stays) { in_type = 1 }
/^SELECT pointstore\.check_schema\(\);/ { next }	# asked of who installs
in_type { if (/^\);/) in_type = 0; next }
{ sub(/^CREATE (FUNCTION|PROCEDURE|AGGREGATE) /, "CREATE OR REPLACE&"); sub(/REPLACECREATE/, "REPLACE"); print }
