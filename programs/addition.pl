% The sum of two digits, each seen as an image.
% Only sums are observed; what each image shows is learned.

nn(digit_net, [X], Y, [0..9]) :: digit(X, Y).

addition(X, Y, Sum) :- digit(X, A), digit(Y, B), Sum is A + B.
