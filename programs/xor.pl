% Do two bits differ? Each is seen as an image of a zero or a one.
% Answers cannot tell a bit from its opposite: reading every zero as one and every one as zero is as good.

nn(bit_net, [X], B, [0, 1]) :: bit(X, B).

xor(X, Y, Z) :- bit(X, A), bit(Y, B), Z is (A + B) mod 2.
