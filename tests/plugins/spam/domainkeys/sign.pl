# Signs the message on standard input by Mail::DKIM (Debian: libmail-dkim-perl), an implementation that is not ours, and
# prints the field. Arguments: canonicalisation, file of the private key, names of fields or nothing.
use strict;
use warnings;
use Mail::DKIM::DkSignature;
use Mail::DKIM::PrivateKey;
use Mail::DKIM::Signer;

my ($method, $file, $headers) = @ARGV;
my $mail = do { local $/; <STDIN> };
my $key = Mail::DKIM::PrivateKey->load(File => $file);
my $signer = Mail::DKIM::Signer->new(
    Policy => sub {
        shift->add_signature(Mail::DKIM::DkSignature->new(
            Algorithm => 'rsa-sha1', Method => $method, Domain => 'office.test', Selector => 'dk', Query => 'dns',
            Key => $key, ($headers ? (Headers => $headers) : ())));
        return;
    });
$signer->PRINT($mail);
$signer->CLOSE;
print $_->as_string, "\r\n" for $signer->signatures;
