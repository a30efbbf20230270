"""kaito.sh as both hooks speak it: labels, annotations, pods of ours, commands for the owner."""
