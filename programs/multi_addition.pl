% The sum of two numbers of any length, digit by digit with a carry.
% A number is a list of images, the least significant digit first. The digits of the sum are inputs as well: an observed
% network states each, so that one circuit serves all sums.

nn(digit_net, [X], D, [0..9]) :: digit(X, D).
nn(target_net, [Z], D, [0..9]) :: target(Z, D).

multi_addition(Xs, Ys, Zs) :- add(Xs, Ys, Zs, 0).

add([], [], [Z], Carry) :- target(Z, Carry).
add([X|Xs], [Y|Ys], [Z|Zs], Carry) :-
    digit(X, A),
    digit(Y, B),
    S is A + B + Carry,
    D is S mod 10,
    Next is S // 10,
    target(Z, D),
    add(Xs, Ys, Zs, Next).
