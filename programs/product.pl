% The product of two digits, each seen as an image.
% A zero hides what the other image shows; the remaining products still determine every digit.

nn(digit_net, [X], Y, [0..9]) :: digit(X, Y).

product(X, Y, Product) :- digit(X, A), digit(Y, B), Product is A * B.
