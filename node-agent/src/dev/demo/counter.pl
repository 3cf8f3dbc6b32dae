# Counts the lines of its standard input, and tells each count on its standard output and to a TCP client, which must
# repeat it.
use strict;
use warnings;
use IO::Socket::INET;

$| = 1;
my $server = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die "cannot listen: $@\n";
print $server->sockport, "\n";
my $client = $server->accept or die "nobody called: $!\n";

# Something to carry along: the sum of it is told with each count.
my @memory = map { $_ % 1000 } 1 .. 200_000;
my $count = 0;
while (defined(my $line = <STDIN>)) {
    $count++;
    my $sum = 0;
    $sum += $_ for @memory;
    my $told = "$count $sum\n";
    print $told;
    print $client $told;
    my $repeated = <$client>;
    die "the client said something else than $told" unless defined $repeated && $repeated eq $told;
}
